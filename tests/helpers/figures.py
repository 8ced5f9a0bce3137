"""Checks of Matplotlib figures."""


def legends_beside_their_panels(figure) -> int:
    """Counts the legends of a figure's panels, none of which may lie on its panel."""
    figure.draw_without_rendering()
    legends = [(ax, ax.get_legend()) for ax in figure.axes if ax.get_legend()]
    for ax, legend in legends:
        assert not ax.bbox.overlaps(legend.get_window_extent()), ax.get_title()
    return len(legends)
