"""Windows on a slide: which one answers a click, and its pixels, embedding and answer."""
