"""The UMMGAT game that the generator stage plays (`client.training.gan_step`): its rows, players and figures."""
