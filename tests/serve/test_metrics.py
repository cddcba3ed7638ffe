import httpx

from bedside.runtime.scripted import ScriptedBackend

from .conftest import PATIENCE_S, EndlessSpeaker, Serving

SECRET = "Mr Smith, born 1950"
ASK = {"messages": [{"role": "user", "content": SECRET}]}
KEY = "a-key-of-the-ward"


def numbers(url: str, **headers: str) -> dict[str, float]:
    text = httpx.get(url + "metrics", headers=headers).text
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


def test_requests_tokens_and_times_are_counted(serving: Serving) -> None:
    with serving(ScriptedBackend([("It is full.", "Heart failure."), ("", "Yes.")]), slots=2) as url:
        httpx.post(url + "v1/chat/completions", json=ASK)
        httpx.post(url + "v1/chat/completions", json={**ASK, "stream": True})
        httpx.post(url + "v1/chat/completions", json={})
        found = numbers(url)
    chat = 'endpoint="/v1/chat/completions"'
    assert found[f'bedside_requests_total{{{chat},status="200"}}'] == 2
    assert found[f'bedside_requests_total{{{chat},status="400"}}'] == 1
    assert found[f"bedside_request_seconds_count{{{chat}}}"] == 3
    assert found['bedside_first_token_seconds_count{model="scripted"}'] == 2
    assert found['bedside_completion_tokens_total{model="scripted"}'] == 6
    assert found['bedside_prompt_tokens_total{model="scripted"}'] >= 8
    assert (found["bedside_seats"], found["bedside_seats_in_use"], found["bedside_queue"]) == (2, 0, 0)


def test_a_seat_in_use_is_seen(serving: Serving, endless: EndlessSpeaker) -> None:
    body = {**ASK, "stream": True}
    with serving(endless) as url, httpx.stream("POST", url + "v1/chat/completions", json=body, timeout=PATIENCE_S):
        assert numbers(url)["bedside_seats_in_use"] == 1


def test_no_client_can_make_a_label_or_leave_a_text(serving: Serving) -> None:
    with serving(ScriptedBackend([("", SECRET)])) as url:
        httpx.post(url + "v1/chat/completions", json=ASK)
        _try_names(url, "first")
        before = set(numbers(url))
        _try_names(url, "second")
        text = httpx.get(url + "metrics").text
        assert set(numbers(url)) == before
    assert "Smith" not in text
    assert "first" not in "".join(line for line in text.splitlines() if "first_token" not in line)


def _try_names(url: str, name: str) -> None:
    for path in (f"nowhere/{name}", f"v1/models/{name}", "metrics"):
        httpx.get(url + path)
    httpx.post(url + "v1/chat/completions", json={**ASK, "model": name})
    httpx.request(name.upper(), url + "healthz")


def test_where_there_is_a_key_the_numbers_ask_for_it(serving: Serving) -> None:
    with serving(ScriptedBackend([]), api_key=KEY) as url:
        assert httpx.get(url + "metrics").status_code == 401
        assert numbers(url, Authorization=f"Bearer {KEY}")["bedside_seats"] == 1
