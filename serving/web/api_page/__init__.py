"""`/docs`: a page over the API's description, with forms that send requests."""
