"""Views of a plan, a drift report or a result. They read values and give text; they decide nothing, do no I/O, and know no terminal."""
