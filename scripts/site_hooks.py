"""What the site does with links to files outside docs/: it holds a copy of each, so that none leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)\)")
COPIES = "files"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what the pages link to."""
    from mkdocs.structure.files import File

    root = Path(config.docs_dir).parent
    for page in files.documentation_pages():
        for name in OUTSIDE.findall(page.content_string):
            if (root / name).is_file() and files.get_file_from_path(f"{COPIES}/{name}") is None:
                files.append(File.generated(config, f"{COPIES}/{name}", abs_src_path=str(root / name)))
    return files


def on_page_markdown(markdown: str, *, config: MkDocsConfig, **_: Any) -> str:
    """Lead each link to the copy; a folder has none, and is named."""
    root = Path(config.docs_dir).parent

    def copied(link: re.Match[str]) -> str:
        return f"]({COPIES}/{link[1]})" if (root / link[1]).is_file() else "](index.md#the-repository)"

    return OUTSIDE.sub(copied, markdown)
