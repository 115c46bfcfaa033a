"""The web page as a Space of the Hub. For a detector of your own: `build_demo("ORG/NAME")`."""

from hiva_hf.web import build_demo, launch_options


demo = build_demo()

if __name__ == "__main__":
    demo.launch(**launch_options())
