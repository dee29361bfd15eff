"""What plot-bench and the bench-* scripts share: running nlm-bench, and figures as data and as pictures.

A figure is {"figure": name, "title": text, "unit": text, "series": [name, ...], "rows": [{"label": text,
"values": [number or null, ...]}, ...]}: a group of bars a row, a bar a series.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Transformer engine in Rust, f32 on an unnamed CPU, batch 1: Pontes et al., "Rust como Engine para Transformers",
# table 1 and figure 1. Forward passes of 64 tokens; milliseconds of passes by number of tokens.
PUBLISHED_TOK_S = {"small_125m": 23.5, "medium_350m": 10.6, "large_1.3b": 2.37}
PUBLISHED_RSS_MB = {"small_125m": 598, "medium_350m": 1420, "large_1.3b": 6252}
PUBLISHED_P50_MS = {128: 3720, 256: 5800, 512: 10970}


def stop(text):
    sys.exit(f"{Path(sys.argv[0]).name}: {text}")


def find_program(folder):
    """nlm-bench in `folder`, or in the build tree beside these scripts, or on the path."""
    if folder:
        places = [Path(folder)]
    else:
        top = Path(__file__).resolve().parent.parent
        places = [top / "build/bin", *map(Path, os.environ.get("PATH", "").split(os.pathsep))]
    for place in places:
        if os.access(place / "nlm-bench", os.X_OK):
            return place / "nlm-bench"
    stop("nlm-bench was not found; build it, or name its folder with --bin")


def parser(description):
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-o", "--output", default=".", help="the folder for the JSON and the figures (here)")
    p.add_argument("--bin", help="the folder of nlm-bench")
    p.add_argument("--type", default="f32", help="of the weights (f32, as published)")
    p.add_argument("--logits", default="all", choices=("all", "last"), help="which are computed (all)")
    p.add_argument("--threads", default="0", help="0: one per physical core")
    p.add_argument("--repeat", type=int, default=5, help="passes measured (5)")
    p.add_argument("--backend", help="the backend to run on (the best one here)")
    p.add_argument("--probe-mb", default=128, help="what the probe of the memory reads (128)")
    p.add_argument("--no-plot", action="store_true", help="write the JSON alone")
    return p


def forward(arguments, preset, tokens):
    """nlm-bench's result of forward passes of so many tokens."""
    command = [find_program(arguments.bin), "--preset", preset, "--type", arguments.type, "--forward", tokens,
               "--logits", arguments.logits, "--threads", arguments.threads, "--repeat", arguments.repeat, "--probe-mb", arguments.probe_mb, "--json"]
    if arguments.backend:
        command += ["--backend", arguments.backend]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        stop(f"nlm-bench failed with {done.returncode}")
    return json.loads(done.stdout)


def write(figure, arguments, results):
    """The figure and what it was made from, as JSON; then the pictures."""
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{figure['figure']}.json"
    path.write_text(json.dumps({**figure, "results": results}, indent=1) + "\n")
    print(path)
    if not arguments.no_plot:
        plot(figure, folder)


def number(value):
    return "-" if value is None else f"{value:.12g}"


def script(figure):
    """Gnuplot commands that draw the figure, but for the terminal and the output."""
    text = [
        f'set title "{figure["title"]}" noenhanced',
        f'set ylabel "{figure["unit"]}"',
        "set style data histograms",
        "set style histogram clustered gap 1",
        "set style fill solid 0.8 border -1",
        "set bmargin 4",  # labels have two lines
        "set boxwidth 0.9",
        "set yrange [0:*]",
        "set grid ytics",
        'shown(x) = sprintf(x < 1000 ? "%.4g" : "%.0f", x)',
        "set key outside center top horizontal noenhanced",
        "set offsets 0, 0, graph 0.08, 0",  # room for the values above the bars
        "set xtics noenhanced",
        'set datafile missing "-"',
        "$data << EOD",
    ]
    for row in figure["rows"]:
        text.append(" ".join([json.dumps(row["label"]), *map(number, row["values"])]))
    text.append("EOD")
    n = len(figure["series"])
    bars = [f'$data using {i + 2}:xtic(1) title {json.dumps(name)}' for i, name in enumerate(figure["series"])]
    # Where the bars of a group stand: n of them and a gap as wide as one.
    values = [f"$data using ($0 + {(i - (n - 1) / 2) / (n + 1):.4f}):{i + 2}:(shown(column({i + 2}))) "
              'with labels offset 0, 0.6 font ",9" notitle' for i in range(n)]
    return text, "plot " + ", ".join(bars + values)


def plot(figure, folder):
    """PNG and SVG; without gnuplot the script fails, having written all else."""
    gnuplot = shutil.which("gnuplot")
    if not gnuplot:
        stop("gnuplot is not installed: no figures")
    setup, draw = script(figure)
    for terminal, suffix in (("png size 960,600", "png"), ("svg size 960,600", "svg")):
        path = Path(folder) / f"{figure['figure']}.{suffix}"
        lines = [f"set terminal {terminal}", f"set output {json.dumps(str(path))}", *setup, draw, "unset output"]
        done = subprocess.run([gnuplot], input="\n".join(lines) + "\n", text=True, stderr=subprocess.PIPE)
        if done.returncode != 0 or not path.exists():
            stop(f"gnuplot failed: {done.stderr.strip()}")
        print(path)
