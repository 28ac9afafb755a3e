"""The tour as it is shown and judged: each row with what it should come to, and a table at the end.

What is brought about is left to `tour`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from accord.client.blocking import Client
from accord.demo.sandbox import DemoServer
from accord.errors import AccordError
from accord.model.verdict import Kind


@dataclass(frozen=True, slots=True)
class Stop:
    """One row of the tour as it came out."""

    what: str
    expected: Kind
    shown: str
    right: bool


@dataclass
class Tour:
    """The two servers, the screen, and what came out so far."""

    first: DemoServer
    second: DemoServer
    console: Console
    stops: list[Stop] = field(default_factory=list)

    def client(self) -> Client:
        """Asks server 1, and server 2 when that one fails."""
        return Client(self.first.url, self.second.url)

    def row(self, expected: Kind, command: str, what: str, ask: Callable[[Client], tuple[Kind, list[str]]]) -> None:
        """Ask, and show whether the verdict is the expected one. What goes wrong is shown, and counts as wrong."""
        self.console.print(f"\n[bold]{escape(what)}[/bold]")
        self.console.print(f"  [dim]$ accord {escape(command)} --server {self.first.url}[/dim]")
        try:
            with self.client() as client:
                kind, told = ask(client)
            right, shown = kind is expected, kind.value
        except (AccordError, AssertionError) as error:
            right, shown, told = False, f"failed: {error}", []
        for line in "\n".join(told).splitlines():
            self.console.print(f"    {escape(line)}")
        mark = "[green]✓[/green]" if right else "[red]✗[/red]"
        wrong = "" if right else f"[red] (expected: {expected.value})[/red]"
        self.console.print(f"  {mark} [bold]{escape(shown)}[/bold]{wrong}")
        self.stops.append(Stop(what, expected, shown, right))

    def say(self, text: str) -> None:
        self.console.print(f"\n[cyan]{escape(text)}[/cyan]")

    @property
    def went_right(self) -> bool:
        return all(stop.right for stop in self.stops) and {stop.expected for stop in self.stops} >= ROWS


ROWS = frozenset(Kind)
"""What the tour must show."""


def summary(tour: Tour) -> None:
    table = Table(title="The tour", title_justify="left")
    table.add_column("what was shown")
    table.add_column("expected")
    table.add_column("verdict")
    table.add_column("right")
    for stop in tour.stops:
        right = "[green]yes[/green]" if stop.right else "[red]no[/red]"
        table.add_row(escape(stop.what), stop.expected.value, escape(stop.shown), right)
    tour.console.print()
    tour.console.print(table)
    if tour.went_right:
        tour.console.print("[green]Each row came out right.[/green]")
    else:
        tour.console.print("[red]Not everything came out right.[/red]")
