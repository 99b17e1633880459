"""How the bundled model and the demo were made; nothing else of the product needs it."""
