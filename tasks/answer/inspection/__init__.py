"""What is known of one document, for the person who asks why it is not found."""
