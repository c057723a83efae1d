"""What serves, and how it follows the aliases in MLflow."""
