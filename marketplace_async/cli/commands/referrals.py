"""`marketplace-async referrals`: accounts that signed up through a partner's referral."""

from cyclopts import App

from ..connection import Connection
from ..output import Output
from ..status import warn_if_interrupted

app: App = App(name="referrals")


@app.command
async def create(
    referral_account_sid: str,
    *,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Report a referred account.

    Parameters
    ----------
    referral_account_sid
        The SID of the account, AC...
    """
    async with connection.client() as client:
        with warn_if_interrupted():
            conversion = await client.referral_conversions.create(
                referral_account_sid=referral_account_sid
            )
        await output.record(conversion)
