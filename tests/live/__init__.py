"""Live streams for tests: a camera, a relay that misbehaves on command, and a viewer, each a process of its own.

    with Relay() as relay, Camera(relay.url("in")) as camera:
        camera.wait_for_session()
        # what is tested plays relay.url("in") and publishes to relay.url("out")
        with Viewer(relay.url("out")) as viewer:
            viewer.wait_for_pictures(25)
            relay.stall(3, path="in")
            ...
            assert reordered(indices(viewer.pictures)) == []

Pictures carry their number and the time they were made, so that a viewer knows what was lost and how old it is.
"""
