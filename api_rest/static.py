"""Files of a folder, and nothing outside of it."""

from pathlib import Path

from aiohttp import web

from engine.core.errors import NotFound


def file_below(folder: Path, name: str, *, cache: str, policy: str) -> web.FileResponse:
    """Return the file `name` (a relative path) of `folder`.

    Raises:
        NotFound: there is no such file below `folder`, links and `..` followed.
    """
    root = folder.resolve()
    try:
        path = (root / name).resolve()
    except (OSError, ValueError) as error:
        raise NotFound from error
    if not path.is_relative_to(root) or not path.is_file():
        raise NotFound
    return web.FileResponse(path, headers={"Cache-Control": cache, "Content-Security-Policy": policy})
