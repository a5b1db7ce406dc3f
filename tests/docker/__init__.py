"""What runs beside a real dockerd, without a kubelet: its scripts, its keeper, its clients."""
