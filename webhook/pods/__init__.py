"""The data: Pods as dicts, what is read of them and how they are changed; and the bounds of all that."""
