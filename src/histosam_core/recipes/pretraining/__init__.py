"""The bundled model's pre-training: drawn images and their losses."""
