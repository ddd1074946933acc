"""Pools of restorers: in this process, or as Ray actors. Only this package knows Ray."""
