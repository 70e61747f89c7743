"""`clenzy roads`: make, look at and teach the file that travel times over roads come from."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from clenzy.child import CannotStartError
from engine.eta import learned_file, road_file
from engine.eta.hub_labels import label
from engine.eta.hub_order import TREES, importance_order
from engine.eta.learned_file import LearnedFileError
from engine.eta.osm_roads import OsmFileError, read_osm
from engine.eta.road_file import RoadFileError
from engine.eta.road_graph import EmptyRoadsError, Roads, assemble
from engine.eta.road_snap import snap_grid
from engine.eta.road_times import RoadIndex, RoadTimes
from engine.eta.street_files import StreetFileError, read_csv, read_geojson

SUFFIX: Final = ".roads"
NODES_MARK: Final = "nodes"


@dataclass(frozen=True, slots=True)
class Built:
    """A road file that was made."""

    path: Path
    index: RoadIndex


def build(source: Path, out: Path | None, console: Console) -> Built:
    """Make a road file of an extract, of GeoJSON lines or of `..nodes.csv` with `..edges.csv` beside it.

    Raises:
        CannotStartError: The source cannot be read, or has no roads.
    """
    path = out or Path(f"{source.name.partition('.')[0]}{SUFFIX}")
    try:
        with _bars(console) as bar:
            roads = _read(source, bar("reading ways", None))
            graph = assemble(roads)
            order = importance_order(graph, progress=bar("finding main roads", min(TREES, graph.nodes)))
            index = RoadIndex(graph, label(graph, order, progress=bar("labelling", graph.nodes)), snap_grid(graph))
            road_file.write(index, path, {"source": source.name, "junctions_read": len(roads.node_lat_e7)})
    except (OsmFileError, StreetFileError, EmptyRoadsError) as error:
        raise CannotStartError(str(error)) from error
    return Built(path, index)


def told(path: Path) -> list[tuple[str, str]]:
    """Return what a road file holds, in lines.

    Raises:
        CannotStartError: It cannot be used.
    """
    index, about = _opened(path)
    graph, labels = index.graph, index.labels
    lat, lng = graph.node_lat_e7 / 1e7, graph.node_lng_e7 / 1e7
    return [
        ("made of", str(about["source"])),
        ("junctions", f"{graph.nodes:,} of {about['junctions_read']:,} (the others cannot be reached or left)"),
        ("road edges", f"{graph.edges:,}, {(graph.edge_twin < 0).mean():.0%} of them one-way"),
        ("length", f"{graph.edge_m.sum(dtype='int64') / 1_000:,.0f} km"),
        ("area", f"{lat.min():.3f} to {lat.max():.3f} north, {lng.min():.3f} to {lng.max():.3f} east"),
        ("labels", f"{labels.mean_length:.1f} hubs a junction and way, {labels.bytes / 1e6:.1f} MB"),
        ("file", f"{path.stat().st_size / 1e6:.1f} MB, version {road_file.VERSION}, checksums hold"),
    ]


def learn(roads: Path, trips: Path, out: Path, zone: ZoneInfo, console: Console) -> str:
    """Write what trips teach about a road file's times; return what to say about it.

    Raises:
        CannotStartError: A file cannot be used, or teaches too little.
    """
    index, _ = _opened(roads)
    try:
        table = learned_file.read_trips(trips)
        with _bars(console) as bar:
            lesson = learned_file.learned_of(table, RoadTimes(index), zone, bar("following trips", len(table)))
    except LearnedFileError as error:
        raise CannotStartError(f"{trips}: {error}") from error
    learned_file.write(lesson.learned, out)
    return f"{lesson.used:,} trips taught, {lesson.passed_over:,} passed over (off the roads, or no real trip): {out}"


def _opened(path: Path) -> tuple[RoadIndex, dict[str, object]]:
    try:
        return road_file.read(path)
    except RoadFileError as error:
        raise CannotStartError(str(error)) from error


def _read(source: Path, progress: Callable[[int], None]) -> Roads:
    name = source.name.lower()
    if name.endswith((".geojson", ".json")):
        return read_geojson(source)
    if name.endswith((".csv", ".csv.gz")):
        if NODES_MARK not in source.name:
            raise StreetFileError(f"{source}: name the table of nodes, such as city_nodes.csv beside city_edges.csv")
        return read_csv(source, source.with_name(source.name.replace(NODES_MARK, "edges")))
    return read_osm(source, progress)


@contextmanager
def _bars(console: Console) -> Iterator[Callable[[str, int | None], Callable[[int], None]]]:
    columns = (
        TextColumn("{task.description:>18}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:

        def bar(name: str, total: int | None) -> Callable[[int], None]:
            task = progress.add_task(name, total=total)
            return lambda done: progress.update(task, completed=done)

        yield bar
