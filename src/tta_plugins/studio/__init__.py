"""`tta studio`: a web page for the runs of `tta align`. Only `page` and `serve` import Gradio."""
