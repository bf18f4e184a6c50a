"""Programs that the benchmarks start."""
import os
import subprocess


def run(*command, **environment):
    """What the program prints, with these variables of the environment besides; ends the benchmark where it fails."""
    words = [str(c) for c in command]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout
