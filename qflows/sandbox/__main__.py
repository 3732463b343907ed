"""`python -m qflows.sandbox`: run a sandbox in the foreground and print the environment to export."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shlex
import sys
from pathlib import Path

from qflows.sandbox.clock import Pace
from qflows.sandbox.run import Options, Running, known_vendors, load_vendor, serve, written_while_up


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m qflows.sandbox", description=__doc__)
    parser.add_argument("--vendors", default=",".join(known_vendors()), help="comma-separated; default: all")
    parser.add_argument("--port", default="0", help="one port per vendor, comma-separated; 0: chosen by the system")
    parser.add_argument("--clock", default="instant", help="instant, count:<reads>, time:<queue_s>,<run_s> or frozen")
    parser.add_argument("--state-dir", type=Path, help="remember jobs and journal here, across restarts")
    parser.add_argument("--seed", type=int, default=1, help="seed of the sampling")
    parser.add_argument(
        "--allow-host", action="append", default=[], help="answer under this host name too; default: loopback only"
    )
    parser.add_argument("--pid-file", type=Path, help="write the process id here while up")
    parser.add_argument("--ready-file", type=Path, help="write the url here once up")
    parser.add_argument("--child", action="store_true", help="stop when stdin closes or the parent process ends")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run until a signal. Exit codes: 0 stopped, 2 bad arguments or a port that is taken."""
    args = parse(arguments)
    with contextlib.ExitStack() as files:

        def announce(running: Running) -> None:
            for name, url in running.urls.items():
                print(f"# {name}: {url}   admin: {url}/_sandbox/info")
                for variable, value in running.world.vendors[name].env(url).items():
                    print(f"export {variable}={shlex.quote(value)}")
            sys.stdout.flush()
            files.enter_context(written_while_up(args.pid_file, f"{os.getpid()}\n"))
            files.enter_context(written_while_up(args.ready_file, f"{next(iter(running.urls.values()))}\n"))

        try:
            vendors = [name for name in args.vendors.split(",") if name]
            for name in vendors:
                load_vendor(name)
            ports = [int(port) for port in args.port.split(",")]
            options = Options(
                vendors,
                ports,
                Pace.parse(args.clock),
                args.state_dir,
                args.seed,
                allowed_hosts=args.allow_host,
                is_child=args.child,
            )
            asyncio.run(serve(options, announce))
        except (ValueError, OSError) as error:
            print(f"sandbox: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            pass  # uvicorn has stopped cleanly and passes the signal on
    return 0


if __name__ == "__main__":
    sys.exit(main())
