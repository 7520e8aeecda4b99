"""What results depend on, as fingerprints by name, so that none is taken for that of something else.

The parts::

    code     what a function does, which names it reads, and which it writes
    library  whose code it is: the user's, or that of an installed package
    looks    single values, functions and classes
    walk     a value, and all that it refers to
"""
