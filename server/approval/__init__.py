"""How a coordinator writes down what the sites are asked to approve."""
