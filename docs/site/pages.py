"""Pages of the site that no file of docs/ holds: the front page, the changelog, the API reference.

The build fails where a public name has no place in the reference, or a page would load something
from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent.parent
SURFACE = ROOT / "tests" / "public_surface.txt"
TOP = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
}
MODULES = ("ganforge", *(f"ganforge.{x}" for x in ("plugin", "images", "archives", "testing")))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made here to what lies in docs/."""
    for name, page in TOP.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_from_the_top(text)))
    known: set[str] = set()
    for title in MODULES:
        page = f"api/{title.removeprefix('ganforge.')}.md"
        files.append(File.generated(config, page, content=_reference(title, known)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Pages of docs/ link to files at the top as GitHub wants it; here they are neighbours."""
    for name, target in TOP.items():
        markdown = markdown.replace(f"](../{name}", f"]({target}")
    return markdown


def on_post_build(config: MkDocsConfig) -> None:
    site = Path(config.site_dir)
    faults = [*_not_in(site / "api"), *_loaded_from_elsewhere(site)]
    if faults:
        raise PluginError("\n".join(faults))


def _not_in(reference: Path) -> Iterator[str]:
    """Public names and members (tests/public_surface.txt) that the reference does not show."""
    pages = (page.read_text(encoding="utf-8") for page in reference.glob("*.html"))
    shown = {name for page in pages for name in re.findall(r'id="(ganforge[\w.]*)"', page)}
    members = {".".join(name.split(".")[-2:]) for name in shown}
    for line in SURFACE.read_text(encoding="utf-8").splitlines():
        kind, _, rest = line.partition(" ")
        name = rest.partition("(")[0]
        if kind == "member" and ".".join(name.split(".")[-2:]) not in members:
            yield f"the API reference lacks {name}"
        if kind in ("class", "function") and name not in shown:
            yield f"the API reference lacks {name}"


def _loaded_from_elsewhere(site: Path) -> Iterator[str]:
    for page in site.rglob("*.html"):
        tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text(encoding="utf-8"))
        for tag in tags:
            if re.search(r'(?:src|href)="?(?:https?:)?//', tag):
                yield f"{page.name} loads from elsewhere: {tag}"


def _from_the_top(text: str) -> str:
    """A page of the top, moved into docs/: links and pictures follow."""
    return re.sub(r'(\]\(|src=")docs/', r"\1", text)


def _reference(title: str, known: set[str]) -> str:
    """Every public name of a module, in the order in which it lists them; what an earlier page
    (`known`) has is only named."""
    module = import_module(title)
    names = [name for name in module.__all__ if not name.startswith("_")]
    fresh = [name for name in names if name not in known]
    anchor, link = f"[](){{#{title}.%s}}", "[`%s`](ganforge.md#ganforge.%s)"
    again = ", ".join(anchor % x + link % (x, x) for x in names if x in known)
    known.update(fresh)
    about = (module.__doc__ or "").strip()
    also = f"The same as in `ganforge`: {again}." if again else ""
    entries = (_entry(title, name, getattr(module, name)) for name in fresh)
    return "\n\n".join([f"# {title}", about, also, *entries])


def _entry(title: str, name: str, value: object) -> str:
    """Read where the name is defined, headed and linked by where it is public."""
    home = getattr(value, "__module__", "")
    home = home if home.startswith("ganforge.") and hasattr(value, "__qualname__") else title
    heading = f"    options:\n      heading: {title}.{name}\n      toc_label: {name}"
    return f"[](){{#{title}.{name}}}\n\n::: {home}.{name}\n{heading}"
