"""RITM (Sofiiuk et al. 2022): clicks and the previous mask through an HRNet with OCR."""
