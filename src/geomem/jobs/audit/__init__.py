"""`geomem audit`: is this model memorizing?"""
