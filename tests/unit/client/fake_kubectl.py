"""A program that stands in for kubectl: its objects are a file, its answers are kubectl's own words.

    fake_kubectl.py FILE [arguments of kubectl]

The file has ``objects`` (by kind, then by name), ``refuses`` (words by verb), ``answer`` (the operator's, to what is
asked for), the ``port`` of the overseer, and ``calls``, which grows.
"""

import json
import signal
import sys
from pathlib import Path
from typing import Any

OPTIONS = ("--namespace", "--context", "--kubeconfig", "--request-timeout")


def main(file: Path, arguments: list[str]) -> int:
    world = json.loads(file.read_text())
    world["calls"].append(arguments)
    words = [word for word in arguments if not word.startswith("--")]
    code = perform(world, words[0], words[1:])
    file.write_text(json.dumps(world))
    sys.stdout.flush()
    if words[0] == "port-forward" and code == 0:
        signal.pause()  # until it is ended
    return code


def perform(world: dict[str, Any], verb: str, words: list[str]) -> int:
    objects = world["objects"]
    if verb in world["refuses"]:
        return fail(world["refuses"][verb])
    match verb:
        case "get" if words[0] not in objects:
            return fail(f'error: the server doesn\'t have a resource type "{words[0]}"')
        case "get" if len(words) == 1:
            print(json.dumps({"kind": "List", "items": list(objects[words[0]].values())}))
        case "get" if words[1] not in objects[words[0]]:
            return fail(f'Error from server (NotFound): {words[0]} "{words[1]}" not found')
        case "get":
            print(json.dumps(objects[words[0]][words[1]]))
        case "create":
            made = json.load(sys.stdin)
            name = made["metadata"].pop("generateName") + "x1"
            made["metadata"]["name"] = name
            made["status"] = world["answer"]
            objects[f"{made['kind'].lower()}s.hanas.dev"][name] = made
            print(json.dumps(made))
        case "annotate":
            annotate(objects[words[0]][words[1]], *words[2].split("="), answer=world["answer"])
        case "delete":
            for name in words[1:]:
                objects[words[0]].pop(name)
        case "port-forward":
            print(f"Forwarding from 127.0.0.1:{world['port']} -> 4000")
        case _:
            return fail(f'error: unknown command "{verb}"')
    return 0


def annotate(hanas: dict[str, Any], name: str, value: str = "", *, answer: dict[str, str]) -> None:
    """Annotate, and do as the operator does."""
    if not value:
        hanas["metadata"]["annotations"].clear()
        hanas["status"].pop("switchover", None)
        return
    hanas["metadata"]["annotations"] = {name: value}
    if "switchover" not in hanas["status"]:  # each value is carried out once
        hanas["status"]["switchover"] = answer
        if answer.get("state") == "Done":
            hanas["status"]["main"] = value


def fail(words: str) -> int:
    print(words, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
