"""Tables, figures and pages of an evaluation, made from its records alone."""
