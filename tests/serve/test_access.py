import shutil
import socket
from pathlib import Path

import httpx
import openai
import pytest

from bedside.runtime.scripted import ScriptedBackend
from bedside.serve import keys
from bedside.serve.audit import Audit

from .conftest import Serving
from .test_audit import entry

ASK = {"messages": [{"role": "user", "content": "What raises the JVP?"}]}
KEY = "a-key-of-the-ward"


@pytest.mark.parametrize("path", ["", "page.js", "page.css", "icon.svg", "v1/models", "healthz", "nowhere"])
def test_every_response_carries_the_security_headers(serving: Serving, path: str) -> None:
    with serving(ScriptedBackend([])) as url:
        headers = httpx.get(url + path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "data:" not in policy
    assert headers["x-dns-prefetch-control"] == "off"
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


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},  # a file that was opened in the browser, or a sandboxed frame
        {"Origin": "null", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://["},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},  # another port of this machine
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},  # a form that was sent
    ],
)
def test_another_web_site_is_refused(serving: Serving, headers: dict[str, str]) -> None:
    with serving(ScriptedBackend([])) as url:
        response = httpx.post(url + "v1/chat/completions", json=ASK, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "origin_not_allowed")


@pytest.mark.parametrize("path", ["v1/models", "metrics", "page.js"])
def test_another_web_site_reads_nothing_either(serving: Serving, path: str) -> None:
    with serving(ScriptedBackend([])) as url:
        assert httpx.get(url + path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_a_link_to_the_page_may_be_followed(serving: Serving) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    with serving(ScriptedBackend([])) as url:
        assert httpx.get(url, headers=headers).status_code == 200


def test_no_other_site_is_told_that_it_may_ask(serving: Serving) -> None:
    asks = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    with serving(ScriptedBackend([])) as url:
        response = httpx.options(url + "v1/chat/completions", headers=asks)
    assert response.status_code == 403
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_a_proxys_name_is_answered_once_it_is_given(serving: Serving) -> None:
    headers = {"Host": "bedside.ward.example", "Origin": "https://bedside.ward.example"}
    with serving(ScriptedBackend([])) as url:
        assert httpx.get(url + "healthz", headers=headers).status_code == 403
    with serving(ScriptedBackend([]), names=["Bedside.Ward.example"]) as url:
        assert httpx.get(url + "healthz", headers=headers).status_code == 200


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


def test_each_key_of_the_file_is_let_in(serving: Serving, tmp_path: Path) -> None:
    made = keys.new("night", tmp_path / "keys")
    known = keys.read(tmp_path / "keys").with_given("schlüssel")
    with serving(ScriptedBackend([]), app={"keys": known}) as url:
        for key, status in ((made, 200), ("schlüssel", 200), ("night", 401), (dict(known.hashes)["night"], 401)):
            sent = httpx.get(url + "v1/models", headers={"Authorization": f"Bearer {key}".encode()})
            assert sent.status_code == status


def test_who_comes_too_often_is_told_when_to_come_back(serving: Serving) -> None:
    with serving(ScriptedBackend([]), requests_per_minute=3) as url:
        seen = [httpx.get(url + "v1/models") for _ in range(5)]
        assert httpx.get(url + "healthz").status_code == 200
    assert [response.status_code for response in seen] == [200, 200, 200, 429, 429]
    assert seen[-1].json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(seen[-1].headers["retry-after"]) <= 60


def test_each_key_has_its_own_pace_and_guesses_share_that_of_the_address(serving: Serving, tmp_path: Path) -> None:
    ward, night = keys.new("ward", tmp_path / "keys"), keys.new("night", tmp_path / "keys")
    known = keys.read(tmp_path / "keys")

    def status(key: str) -> int:
        return httpx.get(url + "v1/models", headers={"Authorization": f"Bearer {key}"}).status_code

    with serving(ScriptedBackend([]), app={"keys": known}, requests_per_minute=2) as url:
        assert [status(ward), status(ward), status(ward)] == [200, 200, 429]
        assert status(night) == 200
        assert [status(guess) for guess in "abc"] == [401, 401, 429]
        assert status(night) == 200


def test_an_address_that_a_client_says_of_itself_is_not_believed(serving: Serving) -> None:
    with serving(ScriptedBackend([]), requests_per_minute=1) as url:
        seen = [httpx.get(url + "v1/models", headers={"X-Forwarded-For": f"192.0.2.{i}"}) for i in range(2)]
    assert [response.status_code for response in seen] == [200, 429]


def test_zero_sets_no_pace(serving: Serving) -> None:
    with serving(ScriptedBackend([]), requests_per_minute=0) as url, httpx.Client() as client:
        assert {client.get(url + "v1/models").status_code for _ in range(400)} == {200}


def test_nothing_is_answered_that_cannot_be_logged(
    serving: Serving, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "audit" / "audit.jsonl"
    audit = Audit(path)
    shutil.rmtree(path.parent)
    path.parent.write_text("a file in the way")
    audit.record(entry())
    with serving(ScriptedBackend([("", "No.")]), app={"audit": audit}) as url:
        audit._writer.submit(lambda: None).result()
        refused = httpx.post(url + "v1/chat/completions", json=ASK)
        assert httpx.get(url + "healthz").status_code == 200
    audit.close()
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "audit_failed")
    assert str(tmp_path) not in refused.text
    assert "audit log" in capfd.readouterr().err


def test_page_and_health_need_no_key(serving: Serving) -> None:
    with serving(ScriptedBackend([]), api_key=KEY) as url:
        assert httpx.get(url).status_code == httpx.get(url + "healthz").status_code == 200
