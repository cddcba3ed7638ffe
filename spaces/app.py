"""A Gradio front end over Bedside's API, for Hugging Face Spaces and for whoever knows Gradio better than our own page.

    pip install 'bedside[gradio]'
    BEDSIDE_URL=http://127.0.0.1:8000/ python spaces/app.py         # beside a server that runs
    BEDSIDE_MODEL=model.gguf python spaces/app.py                   # starts one; without a model the embedded one

In: these, BEDSIDE_API_KEY, GRADIO_SERVER_NAME, GRADIO_SERVER_PORT. Out: http://127.0.0.1:7860/. Gradio lets an answer
load remote images; the Content-Security-Policy that is set here lets the browser ask this server alone.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx

from bedside.models.locate import embedded_gguf
from bedside.text.prompts import NOTICE

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-src 'none'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "X-DNS-Prefetch-Control": "off"}
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}


def replies(url: str, question: str, history: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The messages that answer a question, again and again as they grow: the reasoning, folded, and the answer."""
    asked = [*conversation(history), {"role": "user", "content": question}]
    reasoning, answer = "", ""
    for delta in deltas(url, asked):
        reasoning += delta.get("reasoning_content") or ""
        answer += delta.get("content") or ""
        yield messages(reasoning, answer)


def messages(reasoning: str, answer: str) -> list[dict[str, Any]]:
    """What Gradio shows; one with a title is folded while its status is done."""
    folded = {"role": "assistant", "content": reasoning, "metadata": {"title": "Reasoning", "status": "done"}}
    return [*([folded] if reasoning else []), {"role": "assistant", "content": answer or "…"}]


def conversation(history: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What has been said, in OpenAI's shape: without reasoning, which models are not shown again."""
    said = [turn for turn in history if not (turn.get("metadata") or {}).get("title")]
    return [{"role": turn["role"], "content": text_of(turn["content"])} for turn in said]


def text_of(content: Any) -> str:
    """A message's text, which Gradio gives back as a string or as parts."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def deltas(url: str, asked: list[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """The deltas of a streamed completion; what goes wrong becomes the answer's text. Closing it stops the model."""
    key = os.environ.get("BEDSIDE_API_KEY", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with (
            httpx.Client(base_url=url, headers=headers, timeout=600, trust_env=False) as client,
            client.stream("POST", "v1/chat/completions", json={"messages": asked, "stream": True}) as response,
        ):
            for line in response.iter_lines() if response.is_success else [f"data: {response.read().decode()}"]:
                if line.startswith("data: {"):
                    event = json.loads(line.removeprefix("data: "))
                    failed = event.get("error")
                    yield {"content": f"\n\n({failed['message']})"} if failed else event["choices"][0]["delta"]
    except httpx.HTTPError as error:
        yield {"content": f"\n\n(the server at {url} cannot be reached: {type(error).__name__})"}


def page(url: str) -> Any:
    """The ASGI app."""
    os.environ.update(QUIET)  # before gradio is imported: it reads them then
    import gradio
    from fastapi import FastAPI

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def policy(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    box = gradio.Chatbot(label="Bedside", sanitize_html=True, buttons=["copy"])  # none that sends it to a hub
    chat = gradio.ChatInterface(partial(replies, url), chatbot=box, title="Bedside", description=NOTICE)
    return gradio.mount_gradio_app(app, chat, path="/", theme=gradio.themes.Base(**FONTS), footer_links=[])


def started() -> str:
    """Starts `bedside serve`, which ends with this process, and gives its address."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else it ends this process without atexit
    model = os.environ.get("BEDSIDE_MODEL") or str(embedded_gguf())
    command = [sys.executable, "-m", "bedside", "serve", model, "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    atexit.register(server.terminate)
    for line in server.stderr or []:
        sys.stderr.write(line)
        if url := next((word for word in line.split() if word.startswith("http://")), None):
            threading.Thread(target=sys.stderr.writelines, args=[server.stderr], daemon=True).start()
            return url
    sys.exit(server.wait())


if __name__ == "__main__":
    import uvicorn

    host, port = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), int(os.environ.get("GRADIO_SERVER_PORT", "7860"))
    uvicorn.run(page(os.environ.get("BEDSIDE_URL") or started()), host=host, port=port, log_level="warning")
