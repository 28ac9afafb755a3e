"""Whoever mends a path tells nobody of what others lack: two servers that both leave it alone would go on telling each other."""

from __future__ import annotations

from tests.engine.servers import PATH, servers


async def test_only_somebody_who_wants_the_file_tells_the_others() -> None:
    async with servers(3) as some:
        await some[0].put(b"content")
        some[2].store.remove_outside(PATH)
        first = some[0]
        (await first.reader.read(PATH, tells=False)).close()
        assert await first.updater.update(PATH) is None
        assert first.peers.suggested == []
        (await first.reader.read(PATH)).close()
        assert [path for _, path in first.peers.suggested] == [PATH]
