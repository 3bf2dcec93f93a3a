"""The page `tta studio`: what `tta align` does, in a browser. Only `page` and `serve` import Gradio."""
