"""What is known before the first trial: earlier studies, and where people expect the best."""
