"""The pictures of the node's page: made by a process of their own, with bounds, and kept by what they show.

They are SVG, written here, and one PNG: the log-mel. matplotlib would make them too, but to import it costs a second
and 60 MB on a Raspberry Pi, its text shrinks with the picture on a phone, and its colours are fixed. These take the
page's colours, in the dark too, stretch with the page while their text does not, and say to a screen reader what they
show. What they show is found by the rooms of :mod:`sonyc_ml.analysis.plots`, as ``sonyc-ml plot`` has it.

The service itself imports no numpy for them and opens no sound: the process does, which is started when a picture is
asked for, and ended when none was for a while.
"""
