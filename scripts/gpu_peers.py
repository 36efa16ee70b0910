"""PyTorch's time for the rows of our benchmarks on a GPU, in the settings that its users know: TF32, bf16, channels last, torch.compile.

usage: gpu_peers.py GROUP [--seconds N] [--device cuda]        GROUP: resnet50/224/b80 …, or neighbours

Builds and compiles every setting of the group's rows, prints {"ready": true, …}, and then answers each line of standard input, such as
{"row": "train_step/resnet50/224/b80", "tune": true}, with a line of JSON. One process a group stays alive, so that scripts/gpu_rows.py
measures PyTorch and us in turns on a card that does nothing else.

A row does what `bench_models` does: batch norm frozen, embeddings of 128 dimensions, the mean squared similarity as the loss, Adam. While
other programs use the card, cuDNN is asked for deterministic algorithms, which it remembers apart from all others: with "tune", it tries
its algorithms (torch.backends.cudnn.benchmark) when the row is measured first, on a card that does nothing else.
"""
import argparse, contextlib, json, os, statistics, sys, time, warnings
from collections import namedtuple

# What a measurement takes at most and at least.
SECONDS, MOST_STEPS, FEWEST_STEPS = 0.4, 100, 5

# Name, precision, memory layout, mode of torch.compile.
Setting = namedtuple("Setting", "name precision channels_last mode")
F32 = [Setting("f32", "f32", False, None), Setting("f32, channels last, compile", "f32", True, "default")]
TF32 = [
    Setting("TF32", "tf32", False, None),
    Setting("TF32, channels last", "tf32", True, None),
    Setting("TF32, channels last, compile", "tf32", True, "default"),
]
# CUDA graphs come last: they are recorded with the algorithms that the same convolutions have chosen before.
BF16 = [Setting("bf16, channels last", "bf16", True, None), Setting("bf16, channels last, compile", "bf16", True, "default")]
GRAPHS = [Setting("bf16, channels last, compile with CUDA graphs", "bf16", True, "reduce-overhead")]
PLAIN_BF16 = [Setting("bf16", "bf16", False, None), Setting("bf16, compile", "bf16", False, "default")]
PLAIN_GRAPHS = [Setting("bf16, compile with CUDA graphs", "bf16", False, "reduce-overhead")]

# The most important ones first: settings of the training step, and of embedding.
GROUPS = {
    "resnet50/224/b80": (BF16, BF16 + GRAPHS),
    "resnet50/224/b16": (TF32 + BF16 + GRAPHS, []),
    "efficientnet_lite0/96/b80": (BF16 + GRAPHS, BF16 + GRAPHS),
    "vit_small_patch16/224/b80": (PLAIN_BF16, PLAIN_BF16 + PLAIN_GRAPHS),
    "resnet18/64/b80": (BF16 + GRAPHS + TF32 + F32, BF16 + GRAPHS),
}
NEIGHBOURS = "neighbours/n60502/d512/k101/q6000"
# From vectors on the host; those that end in /search find all but the queries on the card, as ours.
SEARCHES = [
    Setting("f32, product and topk", "f32", False, None),
    Setting("f32, cdist and topk", "f32", False, None),
    Setting("TF32, product and topk", "tf32", False, None),
]


def network(name):
    if name.startswith("resnet"):
        import torchvision

        return getattr(torchvision.models, name)(num_classes=128)
    import timm

    names = {"efficientnet_lite0": "efficientnet_lite0", "vit_small_patch16": "vit_small_patch16_224"}
    return timm.create_model(names[name], num_classes=128)


class Case:
    """A row in one setting: `step` does it once; `bytes` is what it keeps on the card between steps."""

    def __init__(self, row, setting):
        self.row, self.setting = row, setting
        self.use(warming=True)
        before = allocated()
        torch.manual_seed(0)
        kind, *rest = row.split("/")
        make = {"train_step": self.train_step, "embed": self.embed, "neighbours": self.neighbours}[kind]
        self.step = make(*rest)
        # The second and third step would record CUDA graphs; they must wait for cuDNN's choice.
        for _ in range(1 if setting.mode == "reduce-overhead" else 2):
            self.step()
        synchronise()
        self.bytes = allocated() - before

    def use(self, warming=False, tune=False):
        allow = self.setting.precision == "tf32" or self.setting.precision == "bf16"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allow
        torch.backends.cudnn.deterministic = warming
        torch.backends.cudnn.benchmark = tune

    def autocast(self):
        is_bf16 = self.setting.precision == "bf16"
        return torch.autocast(DEVICE.type, torch.bfloat16) if is_bf16 else contextlib.nullcontext()

    def compiled(self, function):
        mode = self.setting.mode
        return function if mode is None else torch.compile(function, mode=mode, dynamic=False, fullgraph=True)

    def inputs(self, name, side, batch):
        layout = torch.channels_last if self.setting.channels_last else torch.contiguous_format
        images = torch.randn(int(batch[1:]), 3, int(side), int(side), device=DEVICE).to(memory_format=layout)
        return network(name).to(DEVICE, memory_format=layout), images

    def train_step(self, name, side, batch):
        model, images = self.inputs(name, side, batch)
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)

        def loss_of(images):
            with self.autocast():
                embeddings = model(images)
            embeddings = torch.nn.functional.normalize(embeddings.float(), dim=1)
            return (embeddings @ embeddings.t()).square().mean()

        loss_of = self.compiled(loss_of)

        def step():
            torch.compiler.cudagraph_mark_step_begin()
            optimiser.zero_grad()
            loss_of(images).backward()
            optimiser.step()

        return step

    def embed(self, name, side, batch):
        model, images = self.inputs(name, side, batch)
        model.eval()
        is_converted = self.setting.mode is not None and self.setting.precision == "bf16"
        if is_converted:
            # Faster than autocast, which converts the weights at each call.
            model.to(torch.bfloat16)

        def forward(images):
            if is_converted:
                return model(images.to(torch.bfloat16))
            with self.autocast():
                return model(images)

        forward = self.compiled(forward)

        @torch.no_grad()
        def step():
            torch.compiler.cudagraph_mark_step_begin()
            forward(images)

        return step

    def neighbours(self, n, d, k, q, search=None):
        n, d, k, q = (int(word[1:]) for word in (n, d, k, q))
        host = torch.nn.functional.normalize(torch.randn(n, d), dim=1)
        kept = host.to(DEVICE) if search else None

        def distances(queries, rows):
            if "cdist" in self.setting.name:
                return torch.cdist(queries, rows)
            return 2 - 2 * (queries @ rows.t())

        @torch.no_grad()
        def step():
            rows = host.to(DEVICE) if kept is None else kept
            found = [distances(queries, rows).topk(k, largest=False) for queries in host[:q].to(DEVICE).split(2000)]
            # As ours, the lists end on the host.
            return [torch.cat(part).cpu() for part in zip(*found)]

        return step

    def measure(self, tune):
        """Median of steps that are each waited for, as ours are; and the mean of as many that are not."""
        self.use(tune=tune)
        if DEVICE.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        before, began, done = allocated(), time.perf_counter(), 0
        while done < 3 or time.perf_counter() - began < 0.05:
            self.step()
            synchronise()
            done += 1
        warming = time.perf_counter() - began
        once = timed(self.step)
        count = max(FEWEST_STEPS, min(MOST_STEPS, int(SECONDS / once)))
        waited = statistics.median(timed(self.step) for _ in range(count))
        alone = timed(lambda: [self.step() for _ in range(count)]) / count
        peak = torch.cuda.max_memory_allocated() - before + self.bytes if DEVICE.type == "cuda" else 0
        return {"ms": round(waited * 1e3, 4), "ms_without_waiting": round(alone * 1e3, 4), "steps": count,
                "precision": self.setting.precision, "peak_mib": round(peak / 2**20), "warming_s": round(warming, 2)}


def timed(run):
    """Seconds by the host's clock until the card is done, as our benchmarks measure."""
    began = time.perf_counter()
    run()
    synchronise()
    return time.perf_counter() - began


def synchronise():
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def allocated():
    return torch.cuda.memory_allocated() if DEVICE.type == "cuda" else 0


def rows_of(group):
    if group == "neighbours":
        return [(NEIGHBOURS, SEARCHES), (f"{NEIGHBOURS}/search", SEARCHES)]
    train, embed = GROUPS[group]
    return [(f"train_step/{group}", train), (f"embed/{group}", embed)]


def main():
    # Libraries may write to standard output; answers must stay apart.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(message):
        print(json.dumps(message), file=answers, flush=True)

    began = time.perf_counter()
    cases, errors = {}, {}
    rows = rows_of(ARGUMENTS.group)
    pairs = [(row, setting) for row, settings in rows for setting in settings]
    for row, setting in sorted(pairs, key=lambda pair: pair[1].precision != "bf16"):
        started = time.perf_counter()
        if started - began > ARGUMENTS.seconds:
            errors[f"{row}: {setting.name}"] = "no time left to compile"
            continue
        try:
            cases.setdefault(row, []).append(Case(row, setting))
        except Exception as error:
            errors[f"{row}: {setting.name}"] = f"{type(error).__name__}: {error}"[:300]
        print(f"{row}: {setting.name}: {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()
    cudnn = torch.backends.cudnn.version() or 0
    libraries = {"torch": torch.__version__, "cuda": torch.version.cuda,
                 "cudnn": f"{cudnn // 10000}.{cudnn // 100 % 100}.{cudnn % 100}"}
    answer({"ready": True, "seconds": round(time.perf_counter() - began, 1), "errors": errors, "libraries": libraries})
    for line in sys.stdin:
        request = json.loads(line)
        measured, errors = {}, {}
        for case in cases.get(request["row"], []):
            try:
                measured[case.setting.name] = case.measure(request.get("tune", False))
            except Exception as error:
                errors[case.setting.name] = f"{type(error).__name__}: {error}"[:300]
        if DEVICE.type == "cuda":
            torch.cuda.empty_cache()
        answer({"row": request["row"], "settings": measured, "errors": errors})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("group", choices=[*GROUPS, "neighbours"])
    parser.add_argument("--seconds", type=float, default=1e9, help="after this long, nothing more is compiled")
    parser.add_argument("--device", default="cuda")
    ARGUMENTS = parser.parse_args()
    warnings.filterwarnings("ignore")
    import torch

    DEVICE = torch.device(ARGUMENTS.device)
    main()
