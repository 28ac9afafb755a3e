"""Server 2 of the classic three terminals. It works on a copy of its samples, so that a second run shows the same."""

from scratch import scratch_copy

from accord.serving import run

if __name__ == "__main__":
    with scratch_copy("server2_files") as root:
        run(root, name="server2", listen="127.0.0.1:65002", peers={"server1": "http://127.0.0.1:65001"})
