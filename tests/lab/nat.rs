//! The kinds of home router, as rule sets of nftables.

use std::fmt;

/// How one side reaches the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nat {
    /// No router: the host itself has the public address.
    Public,
    /// Endpoint-independent mapping and filtering ("full cone"): one outside port, and anyone may write to it.
    Cone,
    /// Plain Linux masquerading whose WAN input is dropped: endpoint-independent mapping as long as ports do not
    /// clash, filtering by address and port.
    MasqueradeDrop,
    /// The same with WAN input accepted: here an early packet of the peer spoils the mapping.
    MasqueradeAccept,
    /// A new random port for every destination.
    Symmetric,
}

impl Nat {
    /// The four kinds every pair of which must connect.
    pub(crate) const ORDINARY: [Nat; 4] =
        [Nat::Public, Nat::Cone, Nat::MasqueradeDrop, Nat::MasqueradeAccept];

    /// The rules of a router whose interfaces are `lan` and `wan`; `inside` is the host its ports lead to, `outside`
    /// its public address.
    pub(crate) fn rules(self, inside: &str, outside: &str) -> String {
        let translation = match self {
            Nat::Public => String::new(),
            Nat::Cone => format!(
                "chain pre {{ type nat hook prerouting priority dstnat; iifname wan meta l4proto udp dnat ip to {inside}; }}
                 chain post {{ type nat hook postrouting priority srcnat; oifname wan snat ip to {outside}; }}"
            ),
            Nat::MasqueradeDrop | Nat::MasqueradeAccept => {
                "chain post { type nat hook postrouting priority srcnat; oifname wan masquerade; }".to_owned()
            }
            Nat::Symmetric => "chain post { type nat hook postrouting priority srcnat;
                               oifname wan masquerade random,fully-random; }"
                .to_owned(),
        };
        let input = match self {
            Nat::MasqueradeDrop | Nat::Symmetric => {
                "chain input { type filter hook input priority filter;
                 iifname wan ct state established,related accept; iifname wan drop; }"
            }
            Nat::Public | Nat::Cone | Nat::MasqueradeAccept => "",
        };
        // Every home router refuses to forward what nobody inside asked for, except what it translates itself.
        format!(
            "table ip home {{
               {translation}
               {input}
               chain forward {{ type filter hook forward priority filter;
                 ct state established,related accept; ct status dnat accept; iifname wan drop; }}
             }}"
        )
    }
}

impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Nat::Public => "public",
            Nat::Cone => "cone",
            Nat::MasqueradeDrop => "masquerade, WAN input dropped",
            Nat::MasqueradeAccept => "masquerade, WAN input accepted",
            Nat::Symmetric => "symmetric",
        })
    }
}
