"""The hooks of docs/logging.md, with a stand-in for what they log to."""

from __future__ import annotations

import http.server
import json
import re
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_recipes import PLAIN, write_recipe

import ganforge

PAGE = Path(ganforge.__file__).parent.parent / "docs" / "logging.md"

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs a checkout, not only a wheel")


@pytest.fixture
def hook(workdir):
    """Saves a hook of the page, and returns its path."""

    def save(name: str) -> Path:
        text = PAGE.read_text(encoding="utf-8")
        found = re.search(rf"<!-- logging: {name} -->\n```python\n(.+?)```", text, re.DOTALL)
        assert found, name
        path = workdir / name
        path.write_text(found[1], encoding="utf-8")
        return path

    return save


@pytest.fixture
def wandb(monkeypatch):
    """Weights & Biases, as far as the page uses it."""
    said = []

    def init(**settings):
        said.append(("init", settings))
        return SimpleNamespace(
            log=lambda values, step: said.append(("log", step, values)),
            finish=lambda exit_code: said.append(("finish", exit_code)),
        )

    module = SimpleNamespace(init=init, Image=lambda path: ("picture", path))
    monkeypatch.setitem(sys.modules, "wandb", module)
    return said


def train(hook: Path, workdir: Path, steps: int = 4, **options):
    recipe = write_recipe(workdir, PLAIN)
    settings = {"hooks": {hook.stem.replace("_", "-"): options}, "train": {"steps": steps}}
    return ganforge.train(recipe, set=settings, out=workdir / "run", plugin_files=[hook])


def test_wandb_is_sent_numbers_sheets_and_the_recipe(hook, workdir, wandb):
    run = train(hook("wandb_log.py"), workdir, every=2, project="tests")
    (_, settings), *logged, finished = wandb
    assert settings["project"] == "tests" and settings["id"] == "run"
    assert settings["resume"] == "allow"
    assert settings["config"]["generators"]["main"]["use"] == "ganforge/mlp"
    assert [step for _, step, _ in logged] == [2, 4]
    values = logged[-1][2]
    assert values["loss/adversarial/generator"] == run.metrics()[-1]["loss/adversarial/generator"]
    kind, picture = values["samples"]
    assert kind == "picture" and Path(picture).is_file()
    assert finished == ("finish", 0)


def test_a_resumed_run_goes_on_under_the_same_id(hook, workdir, wandb):
    file = hook("wandb_log.py")
    train(file, workdir, every=2)
    train(file, workdir, every=2, steps=6)
    assert [s[1]["id"] for s in wandb if s[0] == "init"] == ["run", "run"]
    assert [s[1] for s in wandb if s[0] == "log"] == [2, 4, 6]


def test_the_recipe_is_checked_where_wandb_is_not_installed(hook, workdir, ganforge_cli):
    file = hook("wandb_log.py")
    write_recipe(workdir, PLAIN)
    setting = "hooks.wandb-log.project=digits"
    answer = ganforge_cli("check", "recipe.toml", "--plugin-file", file, "--set", setting)
    assert answer.status == 0 and "no mistakes" in answer.out


@pytest.fixture
def endpoint():
    """An address on this machine, and what it was sent."""
    sent = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments):
            """Quiet."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/log", sent
    server.shutdown()
    server.server_close()


def test_an_address_is_sent_lines_of_json(hook, workdir, endpoint):
    url, sent = endpoint
    train(hook("http_log.py"), workdir, url=url, every=2)
    assert [(line["run"], line["step"]) for line in sent] == [("run", 2), ("run", 4)]
    assert sent[0]["loss/adversarial/generator"] > 0


def test_an_address_that_is_gone_is_told_once_and_stops_nothing(hook, workdir, capsys):
    run = train(hook("http_log.py"), workdir, url="http://127.0.0.1:9/log", every=1)
    assert run.step == 4
    assert capsys.readouterr().err.count("training goes on") == 1
