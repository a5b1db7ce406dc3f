"""dinp on a real node: kubelet, containerd and Docker run what it injects."""
