"""SAM and what shares its interface: encoders, prompt encoders, mask decoders, `SamModel`."""
