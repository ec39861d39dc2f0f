"""Whole tasks: simulate an X-ray, prepare a patient's model, register, evaluate. What the headless tool, the
background worker and a console user all call."""
