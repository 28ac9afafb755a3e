"""What a configuration may say, who overrides whom, and that every mistake is told in words that mend it."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accord import cluster_key
from accord.addresses import ServerSpec, is_loopback, parse_listen, parse_peer
from accord.config import SETTINGS, Config, Flags, load_config
from accord.errors import ConfigError
from accord.model.names import ServerName
from accord.model.versions import OutsideChanges
from accord.quantities import (
    MAX_DURATION_S,
    MAX_INTERVAL_S,
    MAX_RATE_BYTES_PER_S,
    MIN_RATE_BYTES_PER_S,
    interval_text,
    parse_duration_s,
    parse_interval_s,
    parse_rate_bytes,
    rate_text,
)

KEY = "k" * 40
SERVERS = """
[[server]]
name = "server1"
url = "http://127.0.0.1:65001"
root = "server1_files"

[[server]]
name = "server2"
url = "http://127.0.0.1:65002"
root = "server2_files"
"""
FULL = (
    """
[cluster]
name = "home"
key_file = "cluster.key"
min_copies = 2
outside_changes = "adopt"
keep_versions = 3
keep_days = 7
peer_timeout = "500ms"
hash_wait = "2m"
scan_every = "90s"
sync_every = "never"
scrub_every = "7d"
scrub_rate = "2MiB"
scrub_share = 1
watch = false
keep_tombstones_days = 30
"""
    + SERVERS
)


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with a home of its own."""
    return {"HOME": str(tmp_path / "home")}


def load(
    folder: Path, text: str, environ: dict[str, str] | None = None, flags: Flags | None = None, key: str | None = KEY
) -> Config:
    file = folder / "accord.toml"
    file.write_text(text)
    if key is not None:
        (folder / "cluster.key").write_text(key + "\n")
        (folder / "cluster.key").chmod(0o600)
    return load_config(file, flags or Flags(), {"HOME": str(folder / "home"), **(environ or {})})


def test_the_file_says_it_all(tmp_path: Path) -> None:
    config = load(tmp_path, FULL)
    assert (config.cluster, config.min_copies, config.outside_changes) == ("home", 2, OutsideChanges.ADOPT)
    assert (config.keep_versions, config.keep_days, config.peer_timeout_s, config.hash_wait_s) == (3, 7, 0.5, 120)
    assert (config.scan_every_s, config.sync_every_s, config.scrub_every_s) == (90, None, 7 * 86_400)
    assert (config.scrub_bytes_per_s, config.scrub_share) == (2 << 20, 1)
    assert (config.watch, config.keep_tombstones_days) == (False, 30)
    assert config.key is not None
    assert config.key.secret == KEY.encode()
    assert config.warnings == ()
    assert config.server("server2").root == tmp_path / "server2_files"
    assert config.server("server2").address == ("127.0.0.1", 65002)
    assert config.peers_of("server1") == {"server2": "http://127.0.0.1:65002"}


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    config = load(tmp_path, SERVERS)
    assert (config.cluster, config.min_copies, config.outside_changes) == ("accord", 1, OutsideChanges.DISPUTE)
    assert (config.keep_versions, config.keep_days, config.peer_timeout_s, config.hash_wait_s) == (10, 30, 1, 10)
    assert (config.scan_every_s, config.sync_every_s, config.scrub_every_s) == (3600, 300, 30 * 86_400)
    assert (config.scrub_bytes_per_s, config.scrub_share) == (50_000_000, 0.25)
    assert (config.watch, config.keep_tombstones_days) == (True, 90)
    assert {origin for name, _, origin in config.shown() if name in ("min_copies", "peer_timeout")} == {"default"}


def test_flags_override_variables_and_those_the_file(tmp_path: Path) -> None:
    environ = {"ACCORD_MIN_COPIES": "1", "ACCORD_KEEP_DAYS": "8", "ACCORD_CLUSTER_NAME": "work"}
    config = load(tmp_path, FULL, environ, Flags({"keep_days": "9", "peer_timeout": "3s", "hash_wait": None}))
    origins = {name: (value, origin) for name, value, origin in config.shown()}
    assert origins["name"] == ("work", "ACCORD_CLUSTER_NAME")
    assert origins["min_copies"] == (1, "ACCORD_MIN_COPIES")
    assert origins["keep_days"] == (9, "--keep-days")
    assert origins["peer_timeout"] == ("3s", "--peer-timeout")
    assert origins["hash_wait"] == ("2m", str(tmp_path / "accord.toml"))
    assert origins["server.server1.url"] == ("http://127.0.0.1:65001", str(tmp_path / "accord.toml"))


def test_what_is_said_elsewhere_may_be_text_where_the_file_has_none(tmp_path: Path) -> None:
    environ = {"ACCORD_WATCH": "false", "ACCORD_SCRUB_SHARE": "0.5", "ACCORD_SCAN_EVERY": "never"}
    config = load(tmp_path, SERVERS, environ, Flags({"sync_every": "250ms", "keep_tombstones_days": "1"}))
    assert (config.watch, config.scrub_share, config.scan_every_s) == (False, 0.5, None)
    assert (config.sync_every_s, config.keep_tombstones_days) == (0.25, 1)


def test_every_setting_is_shown_as_it_is_written(tmp_path: Path) -> None:
    for text in (SERVERS, FULL):
        config = load(tmp_path, text)
        shown = {name: str(value) for name, value, _ in config.shown() if name in SETTINGS}
        assert shown.keys() == SETTINGS.keys()
        again = load(tmp_path, SERVERS, flags=Flags(shown))
        assert {name: str(value) for name, value, _ in again.shown() if name in SETTINGS} == shown


def test_the_key_is_never_shown(tmp_path: Path) -> None:
    config = load(tmp_path, FULL)
    assert ("key", "set", str(tmp_path / "cluster.key")) in config.shown()
    assert KEY not in repr(config) + repr(config.shown()) + repr(config.key)


def test_the_key_of_the_environment_comes_first(tmp_path: Path) -> None:
    config = load(tmp_path, FULL, {"ACCORD_CLUSTER_KEY": "e" * 40}, key=None)
    assert config.key is not None
    assert (config.key.secret, config.key.origin) == (b"e" * 40, "ACCORD_CLUSTER_KEY")


MISTAKES = {
    "unknown setting": ("[cluster]\nmin_copes = 2\n" + SERVERS, "cluster.min_copes.*Did you mean 'min_copies'"),
    "unknown table": ("[clutser]\n" + SERVERS, "clutser.*Did you mean 'cluster'"),
    "unknown setting of a server": (SERVERS + 'rooot = "x"\n', "server.rooot.*Did you mean 'root'"),
    "nothing like it": ("[cluster]\nzzz = 2\n" + SERVERS, "zzz.*It may have: name"),
    "no TOML": ("[cluster\n", "no TOML"),
    "wrong type": ('[cluster]\nmin_copies = "two"\n' + SERVERS, "min_copies = 'two' .*Expected `int`"),
    "number as text": ('[cluster]\nmin_copies = "2"\n' + SERVERS, "min_copies = '2' .*Expected `int`"),
    "no copies": ("[cluster]\nmin_copies = 0\n" + SERVERS, "min_copies = 0 .*>= 1"),
    "negative": ("[cluster]\nkeep_days = -1\n" + SERVERS, "keep_days = -1"),
    "no policy": ('[cluster]\noutside_changes = "merge"\n' + SERVERS, "outside_changes = 'merge'"),
    "duration without unit": ('[cluster]\npeer_timeout = "5"\n' + SERVERS, "peer_timeout = '5' is no duration"),
    "duration as number": ("[cluster]\npeer_timeout = 5\n" + SERVERS, "peer_timeout = 5 .*Expected `str`"),
    "no time at all": ('[cluster]\npeer_timeout = "0s"\n' + SERVERS, "more than zero"),
    "interval without unit": ('[cluster]\nscan_every = "5"\n' + SERVERS, "scan_every = '5' is no duration.*'never'"),
    "interval of a lifetime": ('[cluster]\nsync_every = "400d"\n' + SERVERS, "at most 366d, or 'never'"),
    "rate as a number": ("[cluster]\nscrub_rate = 50\n" + SERVERS, "scrub_rate = 50 .*Expected `str`"),
    "rate without unit": ('[cluster]\nscrub_rate = "50"\n' + SERVERS, "scrub_rate = '50' is no rate.*'50MB'"),
    "rate of nothing": ('[cluster]\nscrub_rate = "0MB"\n' + SERVERS, "from 1kB"),
    "no share": ("[cluster]\nscrub_share = 0.0\n" + SERVERS, "scrub_share = 0.0 .*> 0"),
    "more than all of the time": ("[cluster]\nscrub_share = 1.5\n" + SERVERS, "scrub_share = 1.5 .*<= 1"),
    "watching as text": ('[cluster]\nwatch = "yes"\n' + SERVERS, "watch = 'yes' .*Expected `bool`"),
    "deletions forgotten at once": (
        "[cluster]\nkeep_tombstones_days = 0\n" + SERVERS,
        "keep_tombstones_days = 0 .*>= 1",
    ),
    "too many copies": ("[cluster]\nmin_copies = 3\n" + SERVERS, "min_copies = 3 can never be reached.*2 servers"),
    "no server": ('[cluster]\nname = "x"\n', "1 to 9 servers; this one has 0"),
    "ten servers": (
        "".join(f'[[server]]\nname = "s{n}"\nurl = "http://127.0.0.1:{n + 7000}"\n' for n in range(10)),
        "1 to 9 servers; this one has 10",
    ),
    "one table too few": ('[server]\nname = "a"\n', "two brackets"),
    "nameless": ('[[server]]\nurl = "http://127.0.0.1:1"\n', "has no name"),
    "no url": ('[[server]]\nname = "a"\n', "has no url"),
    "bad name": ('[[server]]\nname = "a b"\nurl = "http://127.0.0.1:1"\n', "no server name"),
    "same name": (SERVERS.replace("server2", "server1"), "two servers are called 'server1'"),
    "same name in capitals": (SERVERS.replace('"server2"', '"SERVER1"'), "capitals"),
    "same address": (SERVERS.replace("65002", "65001"), "server1 and server2 have the same address"),
    "same directory": (SERVERS.replace("server2_files", "server1_files"), "the same directory"),
    "no port": (SERVERS.replace(":65002", ""), "has no port"),
    "no scheme": (SERVERS.replace("http://127.0.0.1:65002", "127.0.0.1:65002"), "no server's address"),
    "path in the url": (SERVERS.replace(":65002", ":65002/files"), "no server's address"),
    "secret in the url": (
        SERVERS.replace("http://127.0.0.1:65002", "http://me:pw@127.0.0.1:65002"),
        "no server's address",
    ),
    "no name of a host": (SERVERS.replace("127.0.0.1:65002", "files..example.org:65002"), "no server's address"),
    "port out of range": (SERVERS.replace(":65002", ":75002"), "no server's address"),
    "elsewhere without a key": (SERVERS.replace("127.0.0.1:65002", "10.0.0.2:65002"), "need a key.*new-key"),
    "key file gone": ('[cluster]\nkey_file = "gone.key"\n' + SERVERS, "gone.key does not exist.*new-key"),
    "key as number": ("[cluster]\nkey_file = 1\n" + SERVERS, "text in quotes"),
    "root as number": (SERVERS.replace('"server2_files"', "2"), "server.root = 2 must be text"),
}


@pytest.mark.parametrize(("text", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_words(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){says}"):
        load(tmp_path, text)


def test_a_name_that_is_not_in_the_cluster_lists_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no server 'server3'\. It has: server1, server2"):
        load(tmp_path, FULL).server("server3")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "gone.toml", Flags(), {})


def test_a_variable_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"min_copies = 'many' \(from ACCORD_MIN_COPIES\)"):
        load(tmp_path, FULL, {"ACCORD_MIN_COPIES": "many"})


def test_a_short_key_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 characters; it needs at least 32"):
        load(tmp_path, FULL, key="abc")


def test_a_key_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    load(tmp_path, FULL)
    (tmp_path / "cluster.key").chmod(0o644)
    config = load_config(tmp_path / "accord.toml", Flags(), {})
    assert "chmod 600" in config.warnings[0]


def test_a_new_key_file_is_its_owners_alone_and_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "new.key"
    cluster_key.new_key_file(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first = cluster_key.key_from_file(file)
    assert first.warning is None
    with pytest.raises(ConfigError, match="never written over"):
        cluster_key.new_key_file(file)
    assert cluster_key.key_from_file(file) == first


def test_servers_on_loopback_share_a_key_made_at_first_need(tmp_path: Path, home: dict[str, str]) -> None:
    configs = [load(tmp_path, SERVERS) for _ in range(2)]
    assert configs[0].key == configs[1].key is not None
    file = tmp_path / "home/.local/state/accord/loopback.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [one.name for one in file.parent.iterdir()] == ["loopback.key"]


def test_many_servers_starting_at_once_get_one_key(tmp_path: Path) -> None:
    keys: list[cluster_key.Key] = []
    gate = threading.Barrier(8)

    def start() -> None:
        gate.wait()
        keys.append(cluster_key.loopback_key({"XDG_STATE_HOME": str(tmp_path)}))

    starters = [threading.Thread(target=start) for _ in range(8)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert len(keys) == 8
    assert len({key.secret for key in keys}) == 1
    assert os.listdir(tmp_path / "accord") == ["loopback.key"]


def test_looking_makes_no_key(tmp_path: Path, home: dict[str, str]) -> None:
    file = tmp_path / "accord.toml"
    file.write_text(SERVERS)
    assert load_config(file, Flags(), home, make_key=False).key is None
    assert not (tmp_path / "home").exists()


def spec(name: str, url: str = "", root: Path | None = None, listen: str | None = None) -> ServerSpec:
    return ServerSpec(ServerName(name), url, root, listen)


@pytest.mark.parametrize(
    "text",
    [SERVERS.replace("server1_files", "~nosuchuser/x"), '[cluster]\nkey_file = "~nosuchuser/key"\n' + SERVERS],
)
def test_a_home_that_nobody_has(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="no home directory for '~nosuchuser'"):
        load(tmp_path, text)


def test_flags_alone_are_a_cluster(tmp_path: Path, home: dict[str, str]) -> None:
    flags = Flags(
        servers=(spec("server1", root=tmp_path, listen="127.0.0.1:65001"), parse_peer("b=http://127.0.0.1:65002"))
    )
    config = load_config(None, flags, home)
    assert config.server("server1").listen_address == ("127.0.0.1", 65001)
    assert config.peers_of("b") == {"server1": "http://127.0.0.1:65001"}
    assert ("server.server1.url", "http://127.0.0.1:65001", "flags") in config.shown()


def test_a_cluster_of_one_needs_no_key_from_anybody(tmp_path: Path, home: dict[str, str]) -> None:
    config = load_config(None, Flags(servers=(spec("one", root=tmp_path, listen="127.0.0.1:1"),)), home)
    assert config.key is not None
    assert not (tmp_path / "home").exists()


def test_flags_change_one_server_of_the_file(tmp_path: Path) -> None:
    flags = Flags(servers=(spec("server1", root=tmp_path, listen="127.0.0.1:7001"),))
    config = load(tmp_path, FULL.replace("127.0.0.1:65001", "10.0.0.1:65001"), flags=flags)
    one = config.server("server1")
    assert (one.url, one.root, one.listen_address) == ("http://10.0.0.1:65001", tmp_path, ("127.0.0.1", 7001))


def test_a_server_nobody_told_where_to_listen(home: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="--listen"):
        load_config(None, Flags(servers=(spec("server1"),)), home)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "[::]", "example.org"])
def test_listening_where_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=r"TLS and authentication.*SSH tunnel"):
        _ = spec("server1", "http://127.0.0.1:1", listen=f"{host}:65001").listen_address


def test_https_is_a_proxys_and_the_server_behind_it_says_where_it_listens() -> None:
    proxied = spec("server1", "https://files.example.org", listen="127.0.0.1:65001")
    assert (proxied.address, proxied.listen_address) == (("files.example.org", 443), ("127.0.0.1", 65001))
    with pytest.raises(ConfigError, match="proxy"):
        _ = spec("server1", "https://127.0.0.1:65001").listen_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:65001", ("127.0.0.1", 65001)),
        (":65001", ("127.0.0.1", 65001)),
        ("[::1]:65001", ("::1", 65001)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_an_address_to_listen_on(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address
    assert is_loopback(address[0])


@pytest.mark.parametrize("text", ["", "65001", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1", "a:٣"])
def test_no_address_to_listen_on(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        parse_listen(text)


@pytest.mark.parametrize("text", ["server2", "=http://127.0.0.1:1", "a b=http://127.0.0.1:1"])
def test_no_peer(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_peer(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("1s", 1.0), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), (" 3 s ", 3.0)]
)
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration_s("wait", text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "-1s", "1d", "1s2", "1s\n1s", "nan", "infs", "0ms", "2h"])
def test_no_duration(text: str) -> None:
    with pytest.raises(ConfigError, match="wait"):
        parse_duration_s("wait", text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2_592_000.0), ("200ms", 0.2), ("24h", 86_400.0), ("never", None), (" never ", None)]
)
def test_an_interval(text: str, seconds: float | None) -> None:
    assert parse_interval_s("every", text) == seconds


@pytest.mark.parametrize("text", ["", "Never", "0s", "367d", "1w", "1", "-1s"])
def test_no_interval(text: str) -> None:
    with pytest.raises(ConfigError, match=r"every.*never"):
        parse_interval_s("every", text)


@pytest.mark.parametrize(
    ("text", "rate"), [("50MB", 50_000_000), ("1.5 MiB", 1_572_864), ("1kB", 1000), ("1KiB", 1024), ("2GiB", 2 << 30)]
)
def test_a_rate(text: str, rate: int) -> None:
    assert parse_rate_bytes("rate", text) == rate


@pytest.mark.parametrize("text", ["", "50", "50mb", "50 MB/s", "-1MB", "0.5kB", "1001GB", "1TB"])
def test_no_rate(text: str) -> None:
    with pytest.raises(ConfigError, match="rate"):
        parse_rate_bytes("rate", text)


@pytest.mark.parametrize("text", ["1s", "90s", "2m", "1h", "25h", "30d", "0.5s", "never"])
def test_an_interval_is_shown_in_the_unit_that_fits(text: str) -> None:
    assert interval_text(parse_interval_s("every", text)) == text


@given(st.floats(0, MAX_INTERVAL_S, exclude_min=True) | st.integers(1, int(MAX_INTERVAL_S)).map(float))
@example(1_234_567.0)
def test_what_an_interval_is_shown_as_can_be_written(seconds: float) -> None:
    text = interval_text(seconds)
    assert parse_interval_s("every", text) == seconds
    if seconds <= MAX_DURATION_S:
        assert parse_duration_s("wait", text) == seconds


@given(st.integers(MIN_RATE_BYTES_PER_S, MAX_RATE_BYTES_PER_S))
@example(123_456_789)
def test_what_a_rate_is_shown_as_can_be_written(rate: int) -> None:
    assert parse_rate_bytes("rate", rate_text(rate)) == rate


@pytest.mark.parametrize("text", ["50MB", "2MiB", "1GiB", "3GB", "10KiB", "1.5kB"])
def test_a_rate_is_shown_in_the_unit_that_fits(text: str) -> None:
    assert rate_text(parse_rate_bytes("rate", text)) == text
