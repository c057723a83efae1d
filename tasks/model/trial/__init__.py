"""The trial of a challenger on a share of the users, with a verdict that may be asked for at any time."""
