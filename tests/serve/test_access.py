import socket

import httpx
import openai
import pytest

from bedside.runtime.scripted import ScriptedBackend

from .conftest import Serving

ASK = {"messages": [{"role": "user", "content": "What raises the JVP?"}]}
KEY = "a-key-of-the-ward"


@pytest.mark.parametrize("path", ["", "page.js", "page.css", "v1/models", "healthz", "nowhere"])
def test_every_response_carries_the_security_headers(serving: Serving, path: str) -> None:
    with serving(ScriptedBackend([])) as url:
        headers = httpx.get(url + path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("bind", "host", "status"),
    [
        ("127.0.0.1", "localhost:8000", 200),
        ("127.0.0.1", "LOCALHOST", 200),
        ("127.0.0.1", "127.0.0.1", 200),
        ("127.0.0.1", "[::1]:8000", 200),
        ("127.0.0.1", "evil.example", 403),
        ("127.0.0.1", "localhost.evil.example", 403),
        ("127.0.0.1", "127.0.0.1.evil.example:80", 403),
        ("127.0.0.1", "localhost@evil.example", 403),
        ("127.0.0.1", "192.168.1.7", 403),
        ("127.0.0.1", "[", 403),
        ("127.0.0.1", "", 403),
        ("0.0.0.0", "192.168.1.7:8000", 200),
        ("0.0.0.0", "evil.example", 403),
        ("0.0.0.0", socket.gethostname(), 200),
    ],
)
def test_only_our_own_host_names_are_answered(serving: Serving, bind: str, host: str, status: int) -> None:
    with serving(ScriptedBackend([]), host=bind) as url:
        assert httpx.get(url + "healthz", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_another_web_site_is_refused(serving: Serving, origin: str) -> None:
    with serving(ScriptedBackend([])) as url:
        response = httpx.post(url + "v1/chat/completions", json=ASK, headers={"Origin": origin})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "origin_not_allowed")


def test_the_page_itself_is_not_another_web_site(serving: Serving) -> None:
    with serving(ScriptedBackend([("", "Yes.")])) as url:
        response = httpx.post(url + "v1/chat/completions", json=ASK, headers={"Origin": url.rstrip("/")})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "sent", [None, "Bearer", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY}x", b"Bearer \xff"]
)
@pytest.mark.parametrize("path", ["v1/models", "v1/chat/completions", "v1/nowhere"])
def test_without_its_key_nothing_below_v1_is_answered(serving: Serving, sent: str | None, path: str) -> None:
    headers = {} if sent is None else {"Authorization": sent}
    with serving(ScriptedBackend([]), api_key=KEY) as url:
        response = httpx.get(url + path, headers=headers)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert KEY not in response.text


def test_the_openai_client_is_let_in_with_the_key_only(serving: Serving) -> None:
    with serving(ScriptedBackend([("", "Yes.")]), api_key=KEY) as url:
        with openai.OpenAI(base_url=f"{url}v1", api_key="wrong") as api, pytest.raises(openai.AuthenticationError):
            api.chat.completions.create(model="scripted", **ASK)
        with openai.OpenAI(base_url=f"{url}v1", api_key=KEY) as api:
            assert api.chat.completions.create(model="scripted", **ASK).choices[0].message.content == "Yes."


def test_an_empty_key_is_none(serving: Serving) -> None:
    with serving(ScriptedBackend([]), api_key="") as url:
        assert httpx.get(url + "v1/models").status_code == 200


def test_page_and_health_need_no_key(serving: Serving) -> None:
    with serving(ScriptedBackend([]), api_key=KEY) as url:
        assert httpx.get(url).status_code == httpx.get(url + "healthz").status_code == 200
