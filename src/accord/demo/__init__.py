"""The demonstration: two real servers on loopback over files made for it, asked by the real client, row by row.

`samples` makes the files, `sandbox` runs the servers, `tour` asks and judges. How a verdict comes about is none of its business.
"""
