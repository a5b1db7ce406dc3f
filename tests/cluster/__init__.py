"""dinp behind a real kube-apiserver."""
