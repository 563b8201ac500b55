"""What stands around an agent so that its calls come to Backstay: variables, shims, redirection, a doctor for them."""
