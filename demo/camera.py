"""A camera in the rain, at an RTSP server of its own, to try live restoration on."""

import argparse
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg

from tests.live.relay import Relay

STOPPED = 255
"""FFmpeg's exit code after Ctrl-C, which shells keep from programs that they start in the background."""

HERE = Path(__file__).parent
CODEC = ("libx264", "-preset", "veryfast", "-tune", "zerolatency", "-threads", "1", "-crf", "18", "-pix_fmt", "yuv420p")


def main() -> int:
    """Run until stopped; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8554, help="of the RTSP server on this machine")
    parser.add_argument("--size", default="320x180", help="of the picture")
    parser.add_argument("--fps", type=int, default=15, help="pictures a second")
    asked = parser.parse_args()
    with Relay(port=asked.port) as relay:
        url, server = relay.url("camera"), relay.url("")
        print(f"camera:  {url}")
        print(f"restore: streamrestore live {url} --to {server}restored -t derain")
        print(f"watch:   ffplay -fflags nobuffer {server}restored", flush=True)
        scene = ["-re", "-stream_loop", "-1", "-i", str(HERE / "rainy.mp4"), "-an"]
        shown = ["-vf", f"scale={asked.size.replace('x', ':')},fps={asked.fps}", "-g", str(asked.fps), "-c:v", *CODEC]
        program = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", *scene, *shown]
        command = [*program, "-f", "rtsp", "-rtsp_transport", "tcp", url]
        code = subprocess.run(command, check=False).returncode
        return 0 if code == STOPPED else code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # wherever it comes, also while the server is being ended
        sys.exit(0)
