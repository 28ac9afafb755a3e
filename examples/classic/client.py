"""`python client.py NAME`: print the one copy, or both versions, or `File Not Found` (exit code 5)."""

import sys

import accord
from accord.errors import NotFound, RivalVersions


def main(name: str) -> int:
    with accord.Client("http://127.0.0.1:65001", "http://127.0.0.1:65002") as client:
        try:
            sys.stdout.buffer.write(client.read(name).content)
        except RivalVersions as rivals:
            for version in client.rivals(name):
                print(f"--- {', '.join(version.servers)} ---", flush=True)
                sys.stdout.buffer.write(client.read(name, version=str(version.digest)).content)
                sys.stdout.buffer.flush()
            return rivals.exit_code
        except NotFound as missing:
            print("File Not Found")
            return missing.exit_code
        except accord.AccordError as error:
            print(f"{error.title}: {error.detail}", file=sys.stderr)
            return error.exit_code
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: python client.py NAME", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1]))
