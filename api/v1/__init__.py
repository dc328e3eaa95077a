"""`/v1`, for practitioners and for apps that act for them: routes, what they take, what they answer."""
