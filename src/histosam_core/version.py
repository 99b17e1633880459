"""The version of HistoSAM."""

__version__ = "0.1.0"
