"""What people see of a service: the worklist, a case, quality, administration, and the page where images are tried.

Every page is made on the server and can be read and reviewed without a script; scripts add what a mouse, a touch and
the keyboard can do, and what survives a lost connection. Nothing is fetched from elsewhere.
"""

from foveal.serving.pages.rooms import add_to

__all__ = ["add_to"]
