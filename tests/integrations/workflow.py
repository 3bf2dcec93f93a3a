"""Does ComfyUI's part of a workflow: loads the nodes from their folder, and runs the nodes of a graph in order."""

import importlib.util
import json
import sys
from pathlib import Path

import torch

STOCK = {"SaveImage", "PreviewAny"}  # ComfyUI's own nodes of the example


def loaded(folder):
    """The package, loaded as ComfyUI loads a folder of custom_nodes."""
    spec = importlib.util.spec_from_file_location("custom_nodes_tta", folder / "__init__.py", submodule_search_locations=[str(folder)])
    for name in [name for name in sys.modules if name.partition(".")[0] == "custom_nodes_tta"]:
        del sys.modules[name]
    sys.modules["custom_nodes_tta"] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


def called(node, **inputs):
    """The outputs of a node, as ComfyUI gets them."""
    with torch.inference_mode():
        return getattr(node(), node.FUNCTION)(**inputs)


def inputs_of(graph, nodes):
    """By id, the inputs that the editor sends for each node: the values of its widgets by name, and `[id, output]` for each link."""
    sources = {link: [str(node), slot] for link, node, slot, *_ in graph["links"]}
    prompt = {}
    for node in graph["nodes"]:
        given = {place["name"]: sources[place["link"]] for place in node["inputs"]}
        if node["type"] in nodes:
            values = iter(node["widgets_values"])
            for name, (_, *options) in ((name, one) for group in nodes[node["type"]].INPUT_TYPES().values() for name, one in group.items()):
                if options:
                    given[name] = next(values)
                    if options[0].get("control_after_generate"):
                        assert next(values) in {"fixed", "increment", "decrement", "randomize"}
            assert list(values) == []
        elif node["type"] == "SaveImage":
            (given["filename_prefix"],) = node["widgets_values"]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": given}
    return prompt


def run(prompt, nodes):
    """The outputs of each of our nodes, by id."""
    outputs = {}
    for number, node in prompt.items():  # in order: each node after those whose outputs it takes
        given = {name: outputs[value[0]][value[1]] if isinstance(value, list) else value for name, value in node["inputs"].items()}
        if node["class_type"] in nodes:
            outputs[number] = called(nodes[node["class_type"]], **given)
        else:
            assert node["class_type"] in STOCK
    return outputs


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    mappings = loaded(folder).NODE_CLASS_MAPPINGS
    example = json.loads((folder / "example_workflows" / "first-images.json").read_text())
    aligned, baseline, record = run(inputs_of(example, mappings), mappings)["4"]
    print(tuple(aligned.shape), tuple(baseline.shape), record)
